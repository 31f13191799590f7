"""A scene in the browser: looked at, asked, edited; finished or while it trains.

    world      what all tabs look at            document   what one tab has asked, selected and edited
    painting   modes of seeing, as colours      screen     one tab's pictures, coarse while it moves
    panel      the controls of a tab            tab        what the controls do
    server     the page, and a tab for every browser that opens it
"""
